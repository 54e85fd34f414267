from regraft.cli import app

app(["demo"])
