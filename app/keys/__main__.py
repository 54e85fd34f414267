"""`python -m app.keys`: for whoever has lost every key but has the machine.  Writes a new one to `home/admin.key`."""

from app.core.settings import Settings
from app.db.session import Database
from app.keys import service as keys

if __name__ == "__main__":
    settings = Settings()
    with Database(settings.database).unit_of_work() as db:
        keys.renew_first(db, settings.first_key)
