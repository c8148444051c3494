"""A DICOM node: receives studies, segments them by rules, and sends DICOM objects back.

The modules in the order in which a study passes through them: ``storage_scp`` and ``orthanc`` (reception by C-STORE, or
from an Orthanc server), ``receiver`` (checks an image and writes it to disk), ``completeness`` (is the study
complete?), ``header`` and ``rules`` (what is to be done with it), ``engine`` (segments and exports it), ``sender``
(sends the answer: the exported DICOM objects). Beside them: ``storage`` and ``queue`` hold all data, ``alarms``,
``status`` and ``drift`` monitor the node, ``web`` shows its status, ``service`` starts all parts.
"""
