"""Words in names and descriptions that identify an MR image: tables of patterns, and the normalisation of texts.

For another hospital's vocabulary, add rows. Patterns are searched in the output of :func:`normalised`: lower case,
Latin letters without accents, other scripts unchanged, words separated by single spaces.
"""

from __future__ import annotations

import re
import unicodedata
from enum import Enum
from typing import NamedTuple


class Weighting(Enum):
    """The weighting of an image; ``OTHER`` stands for images that are none of the four modalities."""

    T1 = "T1"
    T2 = "T2"
    FLAIR = "FLAIR"
    OTHER = "another kind of image"


class WordRule(NamedTuple):
    """A pattern in the normalised words, the weighting that it supports and how strongly (log-odds).

    A rule for ``OTHER`` excludes the image whatever else is found. ``beside`` is for words that are also common in file
    names: if there is also a word for T1, T2 or FLAIR, the rule has this weight and does not exclude.
    """

    pattern: str
    about: Weighting
    weight: float
    beside: float | None = None


_DARK_FLUID = r"(?:\w*flair\w*|dark ?fluid|da ?fl|tirm|tir(?:2d\w*)?|fluid att\w*)"

# 'sub 01' and 'sub p01' are subjects, 'sub' alone and 'sub t1' subtractions.
_NUMBERED = r"(?!t[12])[a-z]*\d+"

# With a T2: T2*.
_GRADIENT_ECHO = r"(?:gre|eg|ffe|gr[ae]d[ij]ente?( ?e[ck]h?o)?|e[ck]h?o (de )?gr[ae]d[ij]ente?)"

_ASTERISK = "asterisk"
"""Replaces the second underscore behind T2, which converters write in place of ``*``."""

# In this order; each match is removed from the text, so that 'T2*' is not T2 and 'T2 FLAIR' only FLAIR.
WEIGHTING_WORDS: tuple[WordRule, ...] = (
    WordRule(
        r"\b(dwi|dti|diff\w*|adc|eadc|trace\w*|tensor|b0|b ?[5-9]00|b ?[1-3][05]00|resolve)\b", Weighting.OTHER, 8
    ),
    WordRule(
        rf"\b(swi|swan|swip|venobold|ha?emo\w*|t2 ?\*\w*|t2 ?star\w*|t2s|medic|merge|mpgr|qsm"
        rf"|s?t2w?i? (?!s?t1)(\w+ )?{_GRADIENT_ECHO}|{_GRADIENT_ECHO} s?t2w?i?)"
        r"(\b|\s|$)",
        Weighting.OTHER,
        8,
    ),
    WordRule(
        r"\b(perf\w*|permeab\w*|perm|pwi|dsc|dce|p?c?asl|r?cb[fv]|mtt|ttp|tmax|ktrans|bold|f ?mri|twist"
        r"|d[yi]n[ae]m\w*|dyn)\b"
        r"|динамик|динамическ|ダイナミック|动态|動態|역동",
        Weighting.OTHER,
        8,
    ),
    WordRule(
        r"\b(tof\w*|s3di\w*|mra|mrv|\w*angio\w*|veno\w*|phase contrast|phase|pha|pca|pc3d|[23]d ?pc"
        r"|pc (sag|ax|tra|cor)\w*|inhance|tricks|\w*trak|q ?flow|flow(?! ?comp)|cine\w*|(care|test|timing) ?bolus"
        r"|bolus ?(track\w*|test|timing)|fluoro\w*)\b",
        Weighting.OTHER,
        8,
    ),
    WordRule(
        rf"\b(mip|minip|(s?t1)?sub(?! ?{_NUMBERED}\b)|s(ub|u|ou|ot)s?tra[ckz]\w*|subtr|odejm\w*|differen[cz]\w*"
        r"|projection|screen\w*|fusion|fused|collage)\b|суб?тракц\w*|вычит\w*|差分|サブトラ|減算|减影|減影|감산",
        Weighting.OTHER,
        8,
    ),
    WordRule(
        r"\b(loc|lo[ck]ali[sz]+(er|ador|ateur|ator)\w*|scout\w*|aa\w*scout|survey|scano\w*|uebersicht|ubersicht|reperage|centratura"
        r"|(3|three|tri) ?(planes?|plans?|pl)|locator|posdisp|topogram)\b|локализатор|定位|位置決",
        Weighting.OTHER,
        8,
    ),
    WordRule(
        r"\b(calib\w*|asset|prescan|shim\w*|field ?map\w*|b1 ?map|coil ?sens\w*|sense ref\w*|ref(erence)? ?scan"
        r"|plan ?scan|smart ?(brain|exam|prep)|mrac)\b|^ref(erence)?$",
        Weighting.OTHER,
        8,
    ),
    WordRule(rf"\b{_ASTERISK}\b", Weighting.OTHER, 8, 3.9),
    WordRule(r"\bepi\b", Weighting.OTHER, 8, 4),  # echo-planar, or an examination for epilepsy
    WordRule(r"\b(cal|coil|phantom|test|report|rest|pilot|finder|vorschau)\b", Weighting.OTHER, 8, 1.5),
    WordRule(
        r"\b([tr][12]\w* ?map\w*|t1 ?rho|mrf|mapit|relaxo\w*|inv ?[12]|mtr|mrs|spectro\w*|svs|csi|(3d)?qalas|molli"
        r"|q ?t[12]|quant(it\w*)?|nigra|coeruleus|ceruleus)\b"
        r"|\bmp ?2 ?rage\b.*\bt1 ?images?\b|\b(flaws\w*|neuro ?melan\w*|nm (mri?|mt\w*)|symap|despot\w*|apt\w*|cest)\b"
        r"|\b(flip( ?angle)? ?|v?fa )\d{1,2}(deg)?\b",  # one of several flip angles, for a map of T1
        Weighting.OTHER,
        8,
    ),
    WordRule(  # the fat and the phase images of a Dixon series; those of water are T1
        r"\b(dixon|flex|ideal|mdixon)\b.*\b(f|fat|in|ip|out|op|opp\w*)\b"
        r"|^(\d+ )?(fat|in ?phase|out ?phase|opposed)\b(?! ?(sat|sup|nav))"
        r"|\b(opp\w*|in|out( of)?) ?phase\b|\bopp(osed)?\b|\bfat (only|images?|fraction)\b",
        Weighting.OTHER,
        8,
    ),
    WordRule(r"\b(mdme|magic|symri)\b", Weighting.OTHER, 6, 0),  # raw, unless a weighting is named: computed images
    WordRule(r"\b([23]d)?dir([23]d)?\b", Weighting.OTHER, 6, 3.9),
    WordRule(
        r"\b(stir|ps ?ir|psif\w*|(double|dbl) ?(inv\w*|ir)|ciss\w*|ci3d\w*|fiesta|trufi\w*|true ?fisp|b?ssfp"
        r"|s?b ?[ft]fe|cosmic|balanced|cistern\w*|pd(w|wi|fs|t2)?(?!\w* ?\+? ?t2)|proton\w*|dp)\b",
        Weighting.OTHER,
        6,
    ),
    WordRule(rf"\bs?t1[a-z]*\b(?!.*\bs?t2).*\b{_DARK_FLUID}\b", Weighting.T1, 5),
    WordRule(rf"\b{_DARK_FLUID}\b(?!.*\bs?t2).*\bs?t1[a-z]*\b", Weighting.T1, 4),
    WordRule(rf"\bs?t2[a-z]*\b.*\b{_DARK_FLUID}\b", Weighting.FLAIR, 6),
    WordRule(rf"\b{_DARK_FLUID}\b.*\bs?t2[a-z]*\b", Weighting.FLAIR, 6),
    WordRule(r"\b(\w*flair\w*|dark ?fluid|fluid att\w*|t2f|fla|flr)\b", Weighting.FLAIR, 6),
    WordRule(r"\b(tirm|tir(2d\w*)?)\b", Weighting.FLAIR, 3),
    WordRule(r"\b(c|ce|uni)?s?t1[a-z]*\b", Weighting.T1, 4),
    WordRule(r"\b(mp ?2?rage\w*|mprage|\w*spgr\w*|bravo|tfl3d\w*|3d ?tfe)\b", Weighting.T1, 4),
    WordRule(r"\b(vibe|tfe|flash|spgr|efgre3d|se2d\w*)\b", Weighting.T1, 1.5),
    WordRule(r"\bs?t2[a-z]*\b", Weighting.T2, 4),
)

# Image Type values (DICOM C.7.6.1.1.2 and of manufacturers) of images computed from others, of fat and of phase images.
# The first two values of Image Type are not considered.
EXCLUDING_IMAGE_TYPES = frozenset(
    (
        *("FAT", "F", "FF", "FAT_FRACTION", "WATER_FRACTION", "IP", "OP", "OPP_PHASE", "OUT_PHASE", "IN_PHASE"),
        *("P", "PHASE", "PHASE MAP", "R", "REAL", "I", "IMAGINARY"),
        *("SUB", "SUBTRACT", "SUBTRACTION", "MIP", "MINIP", "MNIP", "PROJECTION", "PROJECTION IMAGE", "LOCALIZER"),
        *("T1 MAP", "T2 MAP", "R1 MAP", "R2 MAP", "T2_STAR MAP", "FIELD_MAP", "B1_MAP", "SWI", "VELOCITY"),
        *("ADC", "FA", "TRACEW", "TENSOR", "DIFFUSION", "PERFUSION", "RCBV", "RCBF", "CBV", "CBF", "MTT", "TTP"),
    )
)

# An MP2RAGE without a word for its uniform (UNI, denoised: DEN) image, which is the T1.
UNCLEAR_MP2RAGE = re.compile(r"^(?!.*\b(uni|den|t1w)).*\bmp ?2 ?rage")

# These exclude in a scanner's description; in names of files they are often folders and initials. With T1, 'dir' is a
# preparation that nulls the blood, or Italian for 'without contrast medium'.
SCANNERS_WORDS = re.compile(r"^(?!.*\bs?t1).*?\b((?:[23]d)?dir(?:[23]d)?)\b|\b(nm)\b")

# Body parts whose series do not show the whole brain. If there is also a word for brain or skull, the user is asked.
OTHER_BODY_PARTS = re.compile(
    r"\b(\w*spine|spinal|hws|bws|lws|\w*wirbel\w*|cervical\w*|thoracic|lumbar|columna|colonna|coluna|rachis"
    r"|kregoslup\w*|szyjn\w*|pater\w*|krcni|gerinc\w*|\w*orbit\w*|oczodol\w*|ocnic\w*|augenhohle\w*|neck|hals"
    r"|sella\w*|selar|silla turca|pituit\w*|h[yi]po(ph|f)[iyh]\w*|ipofis\w*|przysadk\w*|aivolisak\w*|iacs?|iams?"
    r"|internal auditory|auditory|cai|kha|cpa|felsenbein\w*|petro(us|sen?|sa)"
    r"|rocch\w*|rochers?|\w*innenohr|khbw|(angol\w* )?ponto ?cerebell\w*"
    r"|oidos?|oreilles?|selle|turci\w*|cpo|nasennebenhohle\w*|zatok\w*|kiefergelenk\w*"
    r"|gesicht\w*|ansikt\w*|tinning\w*|brughoek\w*"
    r"|kleinhirnbruckenwinkel|hno|orl|skull base|base of (the )?skull|schadelbasis|schaedelbasis|base du crane"
    r"|trigemin\w*|cranial nerves?|cavernous|tongue"
    r"|mastoid\w*|temporal bones?|ears?|inner ear|tmj|atm|sinus(es)?|nnh|face|facial|maxillofacial|parotid\w*|larynx"
    r"|nasopharynx"
    r"|thyroid|brachial|plexus|knee|hip|shoulder|elbow|wrist|ankle|abdomen|abdominal|pelvis|liver|breast|prostate"
    r"|heart|cardiac|chest)\b"
    r"|позвоноч|орбит|гипофиз|шейн|турецк|脊|颈椎|腰椎|垂体|眼眶|鞍区|内听道|下垂体|眼窩|内耳|頸椎|脊椎|척추|하수체|안와"
)
_BRAIN = (
    r"brain|head|hirn|kopf|scha?edel|schadel|skull|cere\w*|crani\w*|crane\w*|neuro\w*|encef\w*|enceph\w*|ence|tete|testa"
    r"|cabe\w*|hersen\w*|hoofd|hjern\w*|hjarn\w*|hode|hoved|huvud|glow\w*|mozg\w*|moz[eo]k\w*|hlav\w*|agy\w*|koponya"
    r"|aivo\w*|beyin|creier|мозг\w*|голов\w*"
)
BRAIN_WORDS = re.compile(rf"\b({_BRAIN})\b|脑|头|颅|腦|頭|脳|뇌(?!하수체)|두부")

# --- contrast medium -----------------------------------------------------------------------------------------------

_CONTRAST = r"[kc]ontr(?:\b|a(?:s|z|sz)[tc]\w*)|контраст\w*|σκιαγραφ\w*"
_BRANDS = (
    r"dtpa|dotarem|dotagraf|dotaspin|magnevist|magnegita|magnescope|prohance|omniscan|multihance|clariscan|pixxoscan"
    r"|primovist|eovist|gadavist|gadovist|elucirem|vueway|cyclolux|artirem|optimark"
)
_AGENT_BUT_C = (
    rf"(?:{_CONTRAST}|{_BRANDS}|(?:iv)?km|gad\w*|gd\w*|inj\w*|mdc|cm|civ|enh\w*|tehost\w*|varjoai\w*|усилен\w*|введени\w*|ку|кв|kl"
    r"|gabe|造影剂?|增强|增強|조영\w*)"
)
_AGENT = rf"(?:{_AGENT_BUT_C}|c)"

_AFTER = (
    r"(?:after|post|pos|nach|n|apres|dopo|apos|ap|depois( de)?|despues( de)?|tras|po|efter|etter|nakon|dupa"
    r"|posle|poslije|sonrasi|jalkeen|после|пост|після|μετα|na)"
)
_WITHOUT = (
    r"(?:without|wo|w o|no|non?|un|ohne|sans|sin|sem|senza|zonder|bez|utan|uden|uten|fara|ilman|before|avant|voor|vor"
    r"|refused|declined"
    r"|prima( di| del?)?|prior( to)?|previ[ao]|pra|prae|pre|пре|ne|nie|av|ss|brez|inainte|innan|pirms|pries|ilma"
    r"|przed|pred|prije|antes( de)?( del?)?|fore|for|ennen|без|до|перед|преди|не|無|无|χωρις|πριν)"
)

_WITHOUT_BEHIND = (
    r"(?:free|frei|fri|los|minus|no|non|neg\w*|nelkul|oncesi|elott|ilman|degil|refused|declined|not( given)?)"
)

WITH_WORDS = rf"(?:{_AFTER}|with|w|mit|con|com|avec|met|med|m|cu|z|s|so|sa|amb|su|ar|plus|si|iv|i v|ml|с|со|з|в|με)"

# Log-odds of contrast medium. In this order; each match is removed, so that 'non contrast' is not also 'contrast'.
CONTRAST_WORDS: tuple[tuple[str, float], ...] = (
    (rf"\b{_WITHOUT} ((?!post\b){WITH_WORDS}? ?)?((?!post)\w+ ){{0,2}}?{_AGENT}(?!\w)", -6),
    (rf"\b[uv] (iv )?{_AGENT_BUT_C}", -6),
    (r"\b(non|pre|un|no) ?(contrast\w*|kontrast\w*|enhanced|gad\w*|gd|inj\w*|con|c)\b", -6),
    (
        rf"\b[kc]ontra(?:s|z|sz)t\w*[sz][iu]z\b|\b[kc]ontra(?:s|z|sz)t\w*(fri|los|free)\b"
        rf"|\b({_AGENT}|iv) ?{_WITHOUT_BEHIND}\b",
        -6,
    ),
    (
        r"(增强|增強|造影)(前)|(未|非|不|无|無|没有?)(增强|增強|造影)|造影剤?(なし|無)"
        r"|조영[제증강]*( 주입)? ?전|平扫|平掃|単純|비조영\w*",
        -6,
    ),
    (r"\bs?t1w?i?(n|nat\w*|pre)\b", -6),
    (
        r"\b(pre|nati+[vf]\w*|nat|plain|basale?|dirett\w*|blanco|simple|spontan\w*|once|without|wo|ohne|sans|avant|voor|vor|antes|przed|prije|bez|uden|uten|senza|sin|sem"
        r"|zonder|ennen|innan|до|без|натив\w*)\b",
        -5,
    ),
    (r"\b(c|ce)t1w?\b|\bs?t1w?i? ?(c|ce|gd|gad\w*|km|post|pc|cm)\b|\bs?t1w?i?post\w*", 6),
    (rf"\b{_AFTER} (\w+ )??{_AGENT_BUT_C}|\b{WITH_WORDS} {_AGENT_BUT_C}", 6),
    (rf"\+ ?({_AGENT}|[gk])\b|\b([cgk]|iv) ?\+|\bt1w? ?\+", 6),
    (
        rf"\b(ce|(?:iv)?km|kl|gd\w*|gad\w*|{_CONTRAST}|mdc|civ|inj\w*|enh\w*|varjoai\w*|postcon\w*"
        r"|postg\w*|tehost\w*|wzmocn\w*|ку|кв|усилен\w*)\b|增强|增強|造影|조영",
        5,
    ),
    (rf"\b({_BRANDS})\b", 5),
    (
        r"\b(post|pos|nach|apres|dopo|after|late|delayed|tardi\w*|spae?t\w*|efter|etter|despues|depois|nakon|после|після)\b",
        4,
    ),
    (r"\b(w|with|post) con\b", 5),
    (r"\bmk\b", 3),  # Norwegian and Danish: med, uden kontrast
    (r"\buk\b", -3),
)

# A word for contrast medium; it is evidence only if the words next to it are known.
_AGENT_WORD = re.compile(rf"\b{_AGENT_BUT_C}\b|增强|增強|造影|조영")

# Its known inflections: other endings may mean 'without', as in Estonian and Turkish.
_INFLECTED = re.compile(
    r"[kc]ontra(?:s|z|sz)[tc](?:[aeiou]|em|en|om|es?|ie|ad[ao]|at[ao]?|ed|nej|om|os|li|iga|s|(ow|n[iy]|nou|mitt|med|middel|mid"
    r"|stof|vloeistof|anyag|forst|verst|optag|enh|los|fri|free|frei)\w*|[sz][iu]z)?"
)
_INITIALS = frozenset("c k cc ck cg sc sg pi".split())  # noqa: SIM905 - of 'contrast', 'con contraste', 'sin gadolinio', 'post injectionem'
_PREPOSITIONS = frozenset("a de di del da do du des of the la le il el den i iv".split())  # noqa: SIM905
# Polish 'with' and Dutch 'without'; Czech 'with' and, of 'S/' in a file name, Spanish 'without'; Philips and Catalan.
_AMBIGUOUS = re.compile(r"[sz] (?!k)\w+|sense contrast\w*")

# --- words that are no evidence ---------------------------------------------------------------------------------------

# Words about treatment or the whole examination, not the image; and names of what an image was registered to.
_MISLEADING = re.compile(
    r"\b(post|pre|after|before|nach|vor) ?(op\w*|surg\w*|rt|radi\w*|chemo\w*|treat\w*|therap\w*|resec\w*|rx|tx|sat\w*"
    r"|biops\w*|crani\w*|fossa)\b"
    r"|\b(head|brain|kopf) (and |und )?(neck|hals)\b"
    r"|\b(to|reg|registered( to)?|coreg|in|onto) ?s?t[12]\w*( space)?\b|2t[12]\w*|강조 ?영상|强调|強調\w*|加[权權]\w*"
)

# Describes an examination with images of both kinds; it does not tell which kind a single image is.
_WITHOUT_CONTRAST = r"without|wo|w o|ohne|sans|sin|senza|sem|zonder|uden|uten|utan"
_WITH_CONTRAST = r"with|w|mit|avec|con|com|met|med"
_BEFORE_IT, _AFTER_IT = r"before|vor|avant|prima|voor|antes", r"after|nach|apres|dopo|na|despues|depois"
_AND = r"(and|or|und|u|oder|et|ou|y|e|en|og|och|\+)"
_WITH_AND_WITHOUT = re.compile(
    rf"\b(({_WITH_CONTRAST}) ?({_AND} ?)?({_WITHOUT_CONTRAST})|({_WITHOUT_CONTRAST}) ({_AND} ?)?({_WITH_CONTRAST})"
    rf"|pre {_AND} ?(with|w|mit|avec|con|post))\b( contrast\w*| gad\w*)?"
    rf"|\b(({_BEFORE_IT}) ({_AND} )?({_AFTER_IT})|({_AFTER_IT}) ({_AND} )?({_BEFORE_IT})|post {_AND} pre"
    r"|o m(?= km)|m o(?= km))\b"
    r"|\b(day|week|month|year|monat|woche|jahr)\w* (post|nach)\b(?=$| (s?t1|ax|sag|cor|tra)\w*)"  # of an operation
)

# Images for the planning of surgery and radiotherapy, usually with contrast medium.
PLANNING = re.compile(
    r"\b(stealth|brainlab|neuro ?nav\w*|navigat\w*|stereota\w*|(gamma|cyber) ?knife|gk|srs|planning)\b"
)

# Common words that are unrelated to contrast medium; any other word may be about it.
FAMILIAR = re.compile(
    rf"{_BRAIN}|\d\w*|[a-z]?\d+|[abd-jl-z]|ax\w*|aks\w*|fse[23]d|(single|half|double|triple|dose)|tra\w*|cor\w*|kor\w*|sag\w*|obl\w*|quer|par|plane|horizontal|"
    r"[f2t3]?d?(tse|fse|se|gre|ffe|eg|es|memp|fsp|spin|echo|gradient|turbo|fast|tgse|haste|grase)|ir|mpr\w*|mprg|tfe|ffe|space|spc\w*"
    r"|cube|vista|brainview|"
    r"vibe|lava|flex|thrive|flash|tfl\w*|fl\w*|se2d\w*|tse2d\w*|tir\w*|propeller|blade|multivane|drive|frfse|fase"
    r"|xl|mtc?|mtx|vfa|"
    r"t[eir]|short|long|hi?res\w*|high|res|resolution|iso\w*|acc|c?sense|cs|grappa\d*|caipi\w*|arc|nex|nsa|thin|thick"
    r"|slab|slices?|mm|"
    r"cm|ms|ml|wip|fat\w*|nav\w*|stealth|brainlab|neuron\w*|fs|sat\w*|supp\w*|spair|spir|water|dixon|mdixon|wfs"
    r"|moco\w*|nd|norm|adni\d*|wave|prop|promo|mx3d|quick3d|mpv|starvibe|i?msde|dante|rms|"
    r"dis\w*|filt\w*|dl|air|recon\w*|deep|ai|sharp|denois\w*|symri|synth?\w*|magic|mag\w*|im|ima?ges?|img|series?"
    r"|ser|scan\w*|"
    r"seq\w*|sek(v|w|ans)\w*|study|exam\w*|mr[it]?|irm|rmn?|"
    r"tumou?rs?|glioma|gbm|prot\w*|std|standard|routine|ref|reference|reform\w*|refoc\w*|rep\w*|rpt|new|neu|opt\w*|left|right|vol\w*|whole"
    r"|all|base\w*|"
    r"follow\w*|fu|week|day|month|time\w*|visit|session|ses|sub(j\w*)?\d*|range|pat\w*|pt|case|id|copy|weight\w*|gewicht\w*"
    r"|pond\w*|peso|wi|"
    r"dark|black|blood|quiet|silent|petra|zte|ute|coil|ch|and|und|et|with|the|of|for|de|la|le|il|di|da|do|in|on"
    r"|isot\w*|cad|uni\w*|den\w*|"
    r"[轴軸横矢冠]\w{,3}|[后後전후제]|주입|あり|剤|剂|aksi\w*|verst\w*|forst\w*|vessel|wall|ap|gabe|введени\w*|延迟|延遲|遅延|扫描|掃描|증강|축상|시상|관상|spat\w*|tardi\w*|ass\w*|ge|аксиальн\w*|сагиттальн\w*|корональн\w*|ви|в|мрт|ги|"
    r"late|early|delayed|radio\w*|surg\w*|planning|plan|gamma\w*|gk|srs|rt|post(op\w*)?|pre(op\w*)?|op"
    r"|intra(op\w*)?|bet|n4|(un)?strip\w*|deface\w*|bias\w*|resampled|reg\w*|coreg\w*|orig\w*|raw|final"
)

_LETTERS = str.maketrans({"ı": "i", "ł": "l", "ø": "o", "đ": "d", "ß": "ss", "æ": "ae", "œ": "oe", "þ": "th", "ð": "d"})

UNREADABLE = "unreadable"
"""Replaces a word with lost letters, such as ``inject?``, from a text in the wrong character set."""


def normalised(words: str) -> str:
    """The text in lower case, without accents on Latin letters, separators and misleading phrases.

    Letters of other scripts, ``+`` and ``*`` are kept, as they are significant.
    """
    words = re.sub(r"(?i)(?<=t2)_(?=_|$)", f" {_ASTERISK} ", words).replace("_", " ")
    text = re.sub(r"\w*(?:\ufffd|(?<=\w)\?(?=\w)|(?<=[^\W\d_]{2})\?)\w*", f" {UNREADABLE} ", words)
    text = unicodedata.normalize("NFKD", text.translate(_LETTERS))
    text = re.sub(r"(?<=[a-zA-Z\u0370-\u03ff])[\u0300-\u036f]+", "", text)
    text = unicodedata.normalize("NFC", text)  # compose letters of other scripts again
    text = re.sub(r"[тТ](?=[12])", "T", text)  # Cyrillic letters that look the same
    text = re.sub(r"(?<=[a-z])(?=T[12]|FLAIR|ADC|CB[FV])", " ", text).lower().translate(_LETTERS)  # as in 'AxT1'
    text = re.sub(r"(?<=t[12])(?=flair)", " ", text)
    text = re.sub(r"(?<![a-z0-9])acq-", " ", text)
    text = re.sub(r"(?<![a-z0-9])(sub-[a-z0-9]+ .*?)space-[a-z0-9]+", r"\1 ", text)  # BIDS, not Siemens' SPACE
    text = re.sub(r"(?<![a-z0-9])((sub|ses|run|rec|task)-[a-z0-9]+|dir-(ap|pa|lr|rl|is|si)\b)", " ", text)  # BIDS
    text = re.sub(r"\b(post|nach|gd|km|c\+) ?(-|minus) ?(pre|nativ\w*|vor|c-)(?![a-z])", " subtraction ", text)
    text = re.sub(r"\bw/o\b|\b[ck]-(?=\s|$|\))|\bs/ ?(?=[a-z])", " without ", text)
    text = re.sub(r"\b(with|plus|c/) ?[cgk](?![a-z])", " with contrast ", text)  # Spanish: C/G, S/G
    text = re.sub(r"\bwithout [cgk](?![a-z])", "without contrast ", text)
    text = re.sub(r"\bc/ ?(?=[a-z])|\bw/ ?(?=[a-z])", " with ", text)
    text = re.sub(r"\bk\.m\.?|\bc\.m\.?|\bk\.l\.?", "km", text)
    text = re.sub(r"\bк[/.]у\b", "ку", text)
    text = re.sub(r"\bm\.d\.c\.?", "mdc", text)
    text = re.sub(r"\+ ?/ ?-|(?<!\w)\+ ?-|±|前[后後]", " plusminus ", text)
    text = re.sub(r"\bi\.? ?v\.?(?=\W)", "iv ", text)
    text = re.sub(rf"\b({_AGENT_BUT_C}|iv) ?(\(-\)|-(?=\s|$|\)))", r" \1 minus ", text)
    text = re.sub(rf"(?<=\s)-(?={_AGENT_BUT_C}\b)", " minus ", text)
    text = re.sub(r"(?<=[^\W_])(?=[kc]ontra[sz]|контраст)", " ", text)  # 'postcontrast', in any language
    text = re.sub(r"(?<=[a-z0-9])(?=[^\W\d_a-z])|(?<=[^\W\d_a-z])(?=[a-z0-9])", " ", text)  # 'T1增强'
    text = re.sub(r"(?:[^\w+*]|_)+", " ", text)
    text = re.sub(rf"\b(?:{_AFTER}|{_WITHOUT}|mit|avec)(?={_AGENT_BUT_C}\b)", r"\g<0> ", text)
    return " ".join(_MISLEADING.sub(" ", _WITH_AND_WITHOUT.sub(" plusminus ", text)).split())


def is_foreign(word: str) -> bool:
    """Whether a normalised word has letters of another script than Latin."""
    return any(letter.isalpha() and not letter.isascii() for letter in word)


def unfamiliar(words: str, least_letters: int = 3) -> list[str]:
    """The words of a normalised text that no table of this module explains.

    Args:
        least_letters: shorter words in Latin script are ignored, as they are usually initials or coil numbers.
    """
    for pattern in (*(rule.pattern for rule in WEIGHTING_WORDS), *(pattern for pattern, _ in CONTRAST_WORDS)):
        words = re.sub(pattern, " ", words)
    return [
        word
        for word in words.split()
        if (len(word) >= least_letters or is_foreign(word) or word in _INITIALS or re.fullmatch(WITH_WORDS, word))
        and not FAMILIAR.fullmatch(word)
    ]


def neighbours_not_understood(words: str) -> list[str]:
    """Unknown words next to one for contrast medium, or joined to it, that may negate it.

    The word before is checked first: after 'post' or 'without' the meaning is certain.
    """
    tokens, found = [word for word in words.split() if word not in _PREPOSITIONS], []
    for place, token in enumerate(tokens):
        if not _AGENT_WORD.search(token):
            continue
        if re.match("[kc]ontra", token):
            found += [] if _INFLECTED.fullmatch(token) else [token]
        else:
            found += unfamiliar(token)
        earlier, before, _, after = ["", "", *tokens, ""][place : place + 4]
        if _AMBIGUOUS.fullmatch(f"{before} {token}"):
            found.append(before)
        if re.fullmatch(rf"{WITH_WORDS}|{_WITHOUT}|[uv]", before) or re.fullmatch(rf"{_AFTER}|{_WITHOUT}", earlier):
            continue
        found += [before] if re.fullmatch("[a-z]", before) else unfamiliar(before, least_letters=2)
        if not re.fullmatch(rf"{_AFTER}|{_WITHOUT_BEHIND}", after):
            found += unfamiliar(after, least_letters=2)
    return found
