"""The running service: settings → wired parts (`build.py`), THE loop (`pipeline.py`)."""
