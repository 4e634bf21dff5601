"""The interface of Slicer, CTK and Qt in Python, and a static check of a module against it.

    python -m slicer_contract MODULE_FOLDER ...

| file | what |
|---|---|
| `slicer_widgets.json`, `qt_wrappers.json` | the facts; README.md says where they come from |
| `facts.py` | the facts as Python objects |
| `qt_classes.py` | Qt's own classes, by PySide6 |
| `members.py` | all members of a class, inherited ones too |
| `ui_file.py`, `python_file.py` | the check of a `.ui` and of a `.py` file |
"""
