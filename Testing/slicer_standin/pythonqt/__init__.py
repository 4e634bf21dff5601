"""The module `qt` with PythonQt's conventions, made of PySide6's classes patched in place.

| file | what |
|---|---|
| `properties.py` | a property is an attribute and hides the method of its name |
| `attributes.py` | children and dynamic properties are attributes; nothing new on C++ objects |
| `connections.py` | `button.connect("clicked()", f)`; a signature that does not exist is an error |
| `dialogs.py` | modal dialogs, answered by the test |
| `ui_loader.py` | `.ui` files with the widgets of CTK and Slicer |
| `qt_module.py` | all of it together |

Sources in PythonQt: PythonQtClassInfo.cpp, PythonQtInstanceWrapper.cpp, PythonQtSignalReceiver.cpp,
PythonQtStdDecorators.h.
"""
