"""`python -m migrations`: bring the database to the newest schema."""

from app.core.settings import Settings
from migrations import commands

if __name__ == "__main__":
    settings = Settings()
    settings.home.mkdir(parents=True, exist_ok=True)
    commands.upgrade(settings.database)
