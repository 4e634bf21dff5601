"""The kind of an image by a name such as "AX T1 FSE post Gd" or "t2_tirm_tra_dark-fluid".

Known are English, German and French words, the usual abbreviations, and the names of the BraTS data sets. A
text that may mean two kinds has the kind `UNCLEAR`: a guess whether a T1 has contrast agent would be unsafe.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise

T1 = "T1"
"""T1-weighted, contrast agent not mentioned."""
T1_NATIVE = "T1 without contrast agent"
T1_CONTRAST = "T1 with contrast agent"
T2 = "T2"
FLAIR = "FLAIR"
PD = "proton density"
CT = "CT"
PET = "PET"
OTHER = "other"
"""A kind that no model here takes: diffusion, angiography, a map, a mask, a subtraction."""
UNCLEAR = "unclear"
"""More than one of these kinds."""
UNKNOWN = ""
"""The text does not tell the kind."""

WEIGHTED = frozenset({T1, T1_NATIVE, T1_CONTRAST, T2, FLAIR})
"""The kinds of MR that names of channels distinguish."""


def weighting(kind: str) -> str:
    """The kind without regard to contrast agent."""
    return T1 if kind in (T1_NATIVE, T1_CONTRAST) else kind


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_CONTRAST = _words(
    "gd gad gado gadolinium gadolinie gadovist gadavist gadoterate gadobutrol dotarem magnevist prohance "
    "clariscan multihance omniscan primovist eovist km kontrast kontrastmittel contrast contraste contrasted "
    "ce enhanced injecte injectee injection inj cplus postcontrast postgad postgd postkm"
)
_NATIVE = _words(
    "nativ native natif precontrast pregad pregd prekm noncontrast nonenhanced unenhanced cminus uncontrasted"
)
_BEFORE, _AFTER = _words("pre vor avant"), _words("post nach apres")
_NOT = _words("ohne without wo no non not sans kein keine senza sin") | _BEFORE
_BETWEEN = _words("iv i v de d l du of the any intravenous")
_TREATMENT = _words(  # "post op" is no contrast agent
    "op operative operation operativ surgery surgical rt radiation radiotherapy chemo chemotherapy treatment "
    "therapy therapie biopsy resection processing processed proc traumatic"
)

_OTHER = _words(
    "dwi adc dti trace tracew diff diffusion epi ep2d b0 b50 b500 b800 b1000 swi swan susceptibility perf "
    "perfusion pwi dsc dce asl cbf cbv mtt ttp tof mra mrv angio angiography venography venous bold fmri "
    "stir mp2rage localizer localiser scout survey topogram sub subtr subtraction subtracted subtraktion "
    "soustraction map mapping mip minip seg segmentation mask maske masque label labels labelmap prob "
    "probability star medic merge rho phase uncertainty"
)
_GRADIENT_ECHO = _words("gre ffe hemo haemo hemorrhage fl2d fl3d")  # of a "T2": T2*
_T1_SEQUENCES = _words("mprage bravo spgr fspgr irspgr")
_FLAIR = _words("flair flairw t2flair t2f t2fla darkfluid flairt2 cubeflair spaceflair")
_SEQUENCE_SUFFIX = (
    r"(?:w|wi|weighted|se|tse|fse|fs|tfe|ffe|mprage|mpr|spgr|bravo|space|cube|blade|propeller|frfse|haste|tra|"
    r"sag|cor|ax)*"
)
_T1_WORD = re.compile(
    rf"t1{_SEQUENCE_SUFFIX}(?P<native>n|pre|nativ)?(?P<contrast>c|ce|gd|gad|gado|km|post|contrast)?"
)
_T2_WORD = re.compile(rf"t2{_SEQUENCE_SUFFIX}")
_CT_WORDS = _words("ct cect ncct nect cta cct hrct ldct")
_PET_WORDS = _words("pet pt suv fdg")
_PD_WORDS = _words("pd pdw dp pdt")


def kind_of_text(text: str) -> str:
    """The kind of image that a text means."""
    words = _tokens(text)
    kinds = _weightings(words)
    if OTHER in kinds:
        return OTHER
    if len(kinds) > 1:
        return UNCLEAR
    if kinds == {T1}:
        return _with_contrast(words)
    return kinds.pop() if kinds else UNKNOWN


def mentions_contrast(text: str) -> bool:
    """True if a text says, or may say, that contrast agent was given."""
    with_agent, without = _contrast(_tokens(text))
    return with_agent and not without


def _tokens(text: str) -> list[str]:
    text = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=\d)(?=[A-Z][a-z]{2})", " ", text)  # AxT1Post
    text = re.sub(r"(?<![A-Za-z])(CTA?|PET)(?=[A-Z][a-z])", r"\1 ", text)  # CTChest
    text = unicodedata.normalize("NFKD", text).casefold()
    text = "".join(letter for letter in text if not unicodedata.combining(letter))
    text = re.sub(r"t2\s*\*", " t2 star ", text)
    text = re.sub(r"(?<![a-z0-9])c\s*\+|\+\s*(?:c|gd|gad|gado|km|contrast|ce)(?![a-z0-9])", " cplus ", text)
    text = re.sub(r"(?<![a-z0-9])c-(?![a-z0-9])", " cminus ", text)
    text = re.sub(r"w\s*/\s*o(?![a-z0-9])", " without ", text)
    text = re.sub(r"^sub-[a-z0-9]+(?=_|$)", " ", text)  # a subject of BIDS, no subtraction
    text = re.sub(r"mp[\s_-]rage", " mprage ", text)
    text = re.sub(r"dark[\s_-]*fluid", " darkfluid ", text)
    # "FLAIR to T1" is a FLAIR that was moved.
    text = re.sub(r"(?<![a-z0-9])(?:to|onto|auf|sur)[\s_-]+(?:t1|t2|flair|ct)[a-z]*", " ", text)
    words = re.findall(r"[a-z0-9]+", text)
    return [part for word in words for part in _parts(word)]


def _parts(word: str) -> list[str]:
    """Split words that are written together: "3dflair", "axt1", "t2star"."""
    match = re.fullmatch(r"([23]d|ax|axial|sag|cor|tra)((?:t1|t2|flair|pd|mprage).*)", word)
    if match:
        return [match[1], match[2]]
    match = re.fullmatch(r"(flair|mprage|t1w?|t2w?)([23]d)", word)
    if match:
        return [match[1], match[2]]
    return ["t2", "star"] if re.fullmatch(r"t2(star|s)w?", word) else [word]


def _weightings(words: list[str]) -> set[str]:
    found = set()
    for word, following in pairwise([*words, ""]):
        if word in _OTHER or re.fullmatch(r"t[12](map|rho)", word):
            found.add(OTHER)
        elif word in _FLAIR:
            found.add(FLAIR)
        elif word in _T1_SEQUENCES or _T1_WORD.fullmatch(word):
            found.add(T1)
        elif _T2_WORD.fullmatch(word):
            found.add(T2)
        elif word in _PD_WORDS:
            found.add(PD)
        elif word in _CT_WORDS:
            found.add(CT)
        elif word in _PET_WORDS and not (word == "pt" and following.isdigit()):  # "pt 001" is a patient
            found.add(PET)
    if T2 in found and FLAIR in found:  # "T2 FLAIR"
        found.discard(T2)
    if T2 in found and _GRADIENT_ECHO & set(words):
        return {OTHER}
    return found


def _with_contrast(words: list[str]) -> str:
    with_agent, without = _contrast(words)
    if "c" in words or (with_agent and without):
        return UNCLEAR
    if with_agent:
        return T1_CONTRAST
    return T1_NATIVE if without else T1


def _contrast(words: list[str]) -> tuple[bool, bool]:
    """Two flags: the words mention an image with contrast agent, and one without."""
    with_agent = without = False
    position = 0
    while position < len(words):
        word = words[position]
        rest = words[position + 1 :]
        match = _T1_WORD.fullmatch(word)
        negated = _negated(word, rest)
        if negated:
            without = True
            # "with and without": both
            with_agent |= bool(_words("with w mit avec") & set(words[max(0, position - 2) : position]))
            position += negated
            continue
        if match:
            with_agent |= bool(match["contrast"])
            without |= bool(match["native"])
        elif word in _CONTRAST or (word in _AFTER and not (rest and rest[0] in _TREATMENT)):
            with_agent = True
        elif word in _NATIVE or (word in _BEFORE and not (rest and rest[0] in _TREATMENT)):
            without = True
        position += 1
    return with_agent, without


def _negated(word: str, rest: list[str]) -> int:
    """The number of words, from this one on, that say "without contrast"; 0 if they do not."""
    if word not in _NOT:
        return 0
    for count, following in enumerate(rest[:4], start=1):
        if following in _CONTRAST:
            return count + 1
        if following not in _BETWEEN:
            return 0
    return 0
