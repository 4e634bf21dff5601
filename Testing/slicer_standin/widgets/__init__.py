"""The widgets of CTK and Slicer: PySide6 classes with exactly the members that the contract gives them.

`contract_class.py` makes a class from the contract, the other files add behaviour, `all_widgets.py` collects.
"""
