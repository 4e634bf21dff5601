"""The next session starts with the user's last choices, and nonsense in the settings file does no harm."""

from __future__ import annotations

import pytest
import slicer


@pytest.fixture
def settings(scene):
    from MedNeXtSegmentationLib import settings

    slicer.app.userSettings().remove("MedNeXtSegmentation")
    yield settings
    slicer.app.userSettings().remove("MedNeXtSegmentation")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TASK", "own model, Größe \N{BRAIN}"),
        ("DEVICE", "cpu"),
        ("FOLDS", "3"),
        ("MIRRORING", False),
        ("MODELS_FOLDER", "C:\\Users\\Jörg Müller\\Modelle"),
        ("TRAINING_SET_FOLDER", "/home/名前/training set"),
        ("IDLE_MINUTES", 0.5),
    ],
)
def test_a_choice_is_read_again_as_it_was_made(settings, name, value):
    import qt

    setting = getattr(settings, name)
    setting.set(value)
    slicer.app.userSettings().sync()
    assert setting.get() == value
    file = qt.QSettings(slicer.app.slicerUserSettingsFilePath, qt.QSettings.IniFormat)
    assert file.value(f"MedNeXtSegmentation/{setting.key}") == str(value)
    slicer.app.userSettings().remove(f"MedNeXtSegmentation/{setting.key}")
    assert setting.get() == setting.default


@pytest.mark.parametrize(
    ("name", "nonsense"),
    [
        ("DEVICE", "toaster"),
        ("FOLDS", "-1"),
        ("FOLDS", "³"),
        ("MIRRORING", "perhaps"),
        ("IDLE_MINUTES", "nan"),
        ("IDLE_MINUTES", "1e99"),
        ("IDLE_MINUTES", "soon"),
        ("IDLE_MINUTES", ["1", "2"]),
    ],
)
def test_nonsense_in_the_file_is_the_default_and_is_not_accepted_as_a_choice(settings, name, nonsense):
    setting = getattr(settings, name)
    slicer.app.userSettings().setValue(f"MedNeXtSegmentation/{setting.key}", nonsense)
    assert setting.get() == setting.default
    with pytest.raises(ValueError):
        setting.set(nonsense)
