"""`python -m migrations`: bring the database to the newest schema."""

from app.core import private
from app.core.settings import Settings
from migrations import commands

if __name__ == "__main__":
    settings = Settings()
    private.keep(settings)
    commands.upgrade(settings.database)
