"""Volumes are matched to channels by names and DICOM attributes; doubtful ones are left to the user."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fixtures.scene.volume_nodes import add_volume, head
from hypothesis import given
from hypothesis import strategies as st
from mednext.images.description.image_description import ImageDescription
from mednext.inputs import channel_matching
from mednext.model.description import Channel

BRATS = tuple(Channel(name, "MR", "zscore") for name in ("T1", "T1ce", "T2", "FLAIR"))
CT_ONLY = (Channel("CT", "CT", "ct", 0.0, 1.0, -1000.0, 1000.0),)
T1_ONLY = (Channel("T1", "MR", "zscore"),)

NATIVE = (
    "{t1} nativ",
    "{t1} pre",
    "{t1} ohne KM",
    "{t1} sans injection",
    "{t1} w/o contrast",
    "t1n",
    "{t1} C-",
)
AGENT = (
    "{t1} post", "{t1} post contrast", "{t1}+C", "{t1} + Gd", "{t1} KM", "{t1} nach KM", "{t1} injecté",
    "{t1} Gd", "{t1} ce", "{t1} C+", "t1ce", "t1c", "T1Gd", "T1w_KM", "AxT1Post", "{t1} post-op post Gd",
)  # fmt: skip
SECOND = ("T2", "t2w", "T2 TSE", "AX T2 FSE", "t2_tse_tra_p2", "SagT2")
DARK_FLUID = ("FLAIR", "T2 FLAIR", "t2f", "t2_tirm_tra_dark-fluid", "3DFLAIR", "FLAIR post Gd", "FLAIR to T1")
OTHER = ("DWI b1000", "T1 map", "T1_mask", "T2*", "t2star", "T2 FFE", "SWI", "T1 sub", "TOF MRA", "localizer")
DOUBTFUL = ("T1 C", "T1 w/wo contrast", "T1 vor und nach KM", "T1 FLAIR", "T1 T2", "PD T2")
T1_WORDS = ("T1", "t1w", "T1-weighted", "t1_mprage_sag", "MPRAGE", "AX T1 SE", "T1 FS")


def native_names():
    return st.builds(lambda name, t1: name.format(t1=t1), st.sampled_from(NATIVE), st.sampled_from(T1_WORDS))


def agent_names():
    return st.builds(lambda name, t1: name.format(t1=t1), st.sampled_from(AGENT), st.sampled_from(T1_WORDS))


def dressed(names):
    """The names as sites and programs write them: with numbers, underscores, upper case."""

    def dress(name, number, separator, suffix, upper):
        text = f"{number}{name.replace(' ', separator)}{suffix}"
        # "AxT1Post" is three words only because of its capitals.
        return text.upper() if upper and " " in name else text

    return st.builds(
        dress,
        names,
        st.sampled_from(["", "301: ", "5 ", "BraTS-GLI-00001-000-", "Müller_"]),
        st.sampled_from([" ", "_"]),
        st.sampled_from(["", "_brain", " p2 iso", " (1)", " tra", ".nii"]),
        st.booleans(),
    )


@pytest.fixture(scope="module")
def matching():
    return channel_matching


def images(*names, **known):
    return [ImageDescription(name, **known) for name in names]


def matched(matching, channels, described, chosen=None):
    """The names of the images that the channels get."""
    found = matching.match_descriptions(channels, chosen or [None] * len(channels), described)
    return [None if index is None else described[index].name for index in found]


@given(
    dressed(native_names()),
    dressed(agent_names()),
    dressed(st.sampled_from(SECOND)),
    dressed(st.sampled_from(DARK_FLUID)),
    st.lists(st.sampled_from(OTHER), max_size=2),
    st.randoms(use_true_random=False),
)
def test_each_channel_gets_its_image_whatever_it_is_called(matching, t1, t1c, t2, flair, others, random):
    names = [t1, t1c, t2, flair, *others]
    random.shuffle(names)
    assert matched(matching, BRATS, images(*names)) == [t1, t1c, t2, flair]


@given(st.lists(dressed(st.one_of(agent_names(), st.sampled_from(OTHER + DOUBTFUL + SECOND))), max_size=5))
def test_no_image_with_contrast_agent_and_no_doubtful_one_becomes_the_plain_t1(matching, names):
    assert matched(matching, BRATS, images(*names))[0] is None
    assert matched(matching, T1_ONLY, images(*names)) == [None]


@given(st.lists(dressed(st.one_of(native_names(), st.sampled_from(OTHER + DOUBTFUL + T1_WORDS))), max_size=5))
def test_no_plain_t1_and_no_doubtful_one_becomes_the_one_with_contrast_agent(matching, names):
    assert matched(matching, BRATS, images(*names))[1] is None


@given(
    st.lists(st.sampled_from(T1_WORDS + AGENT[-6:] + SECOND + DARK_FLUID + OTHER), max_size=6, unique=True),
    st.lists(st.sampled_from(["", "A", "B"]), min_size=6, max_size=6),
    st.randoms(use_true_random=False),
)
def test_the_order_of_the_images_does_not_matter_and_each_is_used_once(matching, names, studies, random):
    described = [replace(image, study=study) for image, study in zip(images(*names), studies, strict=False)]
    found = matched(matching, BRATS, described)
    shuffled = random.sample(described, len(described))
    assert matched(matching, BRATS, shuffled) == found
    used = [name for name in found if name]
    assert len(used) == len(set(used))


def test_two_images_that_fit_equally_well_are_left_to_the_user(matching):
    assert matched(matching, BRATS, images("T1", "T2 tra", "T2 sag")) == ["T1", None, None, None]


def test_the_images_are_those_of_the_study_that_has_most_of_them(matching):
    first = images("old T1", "old T2", study="2020")
    second = images("new T1", "new T1 KM", "new T2", study="2024")
    assert matched(matching, BRATS, first + second) == ["new T1", "new T1 KM", "new T2", None]


def test_of_two_equal_studies_none_is_taken_until_one_image_is_chosen(matching):
    described = images("T1 of 2020", "T2 of 2020", study="2020") + images(
        "T1 of 2024", "T2 of 2024", study="2024"
    )
    assert matched(matching, BRATS, described) == [None] * 4
    assert matched(matching, BRATS, described, [2, None, None, None])[2] == "T2 of 2024"


def test_a_chosen_image_stays_and_is_used_for_no_other_channel(matching):
    described = images("T1", "T2")
    assert matched(matching, BRATS, described, [1, None, None, None]) == ["T2", None, None, None]


def test_a_model_of_one_channel_takes_the_first_image_that_fits_then_an_unknown_one(matching):
    assert matched(matching, T1_ONLY, images("scan", "T2", "MPRAGE", "T1")) == ["MPRAGE"]
    assert matched(matching, T1_ONLY, images("T2", "scan", "another")) == ["scan"]
    assert matched(matching, CT_ONLY, images("MPRAGE", "Panoramix")) == ["Panoramix"]


def test_the_modality_in_the_dicom_header_decides(matching):
    described = images("Thorax", modality="MR") + images("Abdomen", modality="CT")
    assert matched(matching, CT_ONLY, described) == ["Abdomen"]
    assert matched(matching, T1_ONLY, described) == ["Thorax"]


def test_a_hint_of_contrast_agent_in_the_header_makes_a_t1_doubtful(matching):
    hinted = images("t1_mprage", modality="MR", agent="Gadovist")
    assert matched(matching, BRATS, hinted) == [None] * 4
    assert matched(matching, T1_ONLY, hinted) == [None]
    assert matched(matching, T1_ONLY, images("t1_mprage", modality="MR", agent="NONE")) == ["t1_mprage"]


def test_two_t1_of_one_study_are_distinguished_if_one_of_them_has_contrast_agent_in_its_header(matching):
    without = images("t1_se first", modality="MR", study="1")
    with_agent = images("t1_se second", modality="MR", study="1", agent="Dotarem")
    assert matched(matching, BRATS, without + with_agent)[:2] == ["t1_se first", "t1_se second"]
    both = [replace(image, agent="Dotarem") for image in without + with_agent]
    assert matched(matching, BRATS, both)[:2] == [None, None]


@pytest.mark.parametrize(
    ("name", "times", "kind"),
    [
        ("series 5", {"echo_ms": 100.0, "repetition_ms": 9000.0, "inversion_ms": 2500.0}, "FLAIR"),
        ("series 5", {"echo_ms": 100.0, "repetition_ms": 4000.0}, "T2"),
        ("series 5", {"echo_ms": 10.0, "repetition_ms": 500.0, "scanning_sequence": "SE"}, "T1"),
        (
            "series 5",
            {"echo_ms": 3.0, "repetition_ms": 2300.0, "inversion_ms": 900.0, "scanning_sequence": "GR\\IR"},
            "T1",
        ),
        ("series 5", {"echo_ms": 90.0, "repetition_ms": 9000.0, "scanning_sequence": "EP"}, "other"),
        ("series 5", {"echo_ms": 20.0, "repetition_ms": 700.0, "scanning_sequence": "GR"}, ""),
        ("t2_tirm_tra", {"echo_ms": 100.0, "repetition_ms": 9000.0, "inversion_ms": 2500.0}, "FLAIR"),
        ("FLAIR", {"echo_ms": 100.0, "repetition_ms": 9000.0}, "FLAIR"),
        ("T1", {"echo_ms": 100.0, "repetition_ms": 4000.0}, "unclear"),
    ],
)
def test_the_times_of_the_pulse_sequence_tell_the_weighting(matching, name, times, kind):
    assert images(name, modality="MR", **times)[0].kind == kind


class FakeDatabase:
    """Slicer's DICOM database, which the stand-in lacks."""

    isOpen = True  # noqa: N815 - Qt's name

    def __init__(self, tags):
        self.tags = tags

    def instanceValue(self, instance, tag):  # noqa: N802 - Qt's name
        return self.tags.get(instance, {}).get(tag, "")


def test_a_volume_from_dicom_is_described_by_its_header_and_its_study(scene, monkeypatch):
    import slicer
    from MedNeXtSegmentationLib.scene.volumes import image_description as d

    tags = {
        d.MODALITY: "MR",
        d.SERIES_DESCRIPTION: "Kopf axial",
        d.PROTOCOL_NAME: "t1_tse",
        d.CONTRAST_AGENT: "KM",
    }
    times = {
        d.ECHO_TIME: "9.1",
        d.REPETITION_TIME: "550",
        d.INVERSION_TIME: "nonsense",
        d.SCANNING_SEQUENCE: "SE",
    }
    monkeypatch.setattr(slicer, "dicomDatabase", FakeDatabase({"1.2.3": tags | times}), raising=False)
    volume = add_volume(scene, head(), name="5: Kopf axial")
    volume.SetAttribute("DICOM.instanceUIDs", "1.2.3 1.2.4")
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Patient")
    study = hierarchy.CreateStudyItem(patient, "Study")
    hierarchy.SetItemUID(study, "DICOM", "1.9.9")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(volume), study)
    image = d.describe(volume)
    assert image == ImageDescription(
        "5: Kopf axial",
        "MR",
        "Kopf axial",
        "t1_tse",
        "KM",
        "SE",
        550.0,
        9.1,
        None,
        "1.9.9",
        f"item {patient}",
    )
    assert image.kind == "unclear"


def test_without_a_database_the_subject_hierarchy_still_knows_the_modality(scene):
    import slicer
    from MedNeXtSegmentationLib.scene.volumes.image_description import describe

    volume = add_volume(scene, head(), name="Abdomen")
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    hierarchy.SetItemAttribute(hierarchy.GetItemByDataNode(volume), "DICOM.Modality", "CT")
    assert (describe(volume).modality, describe(volume).kind) == ("CT", "CT")
