"""A DICOM node: studies come in, are segmented by the same road as everywhere, and their answers go back.

The modules in the order in which a study meets them: receiver and orthanc (two ways in), intake (images to disk),
arrivals (is the study complete?), header and rules (what is to be done with it), engine (does it), sender (brings the
answer back). Beside them: storage and queue keep everything, alarms, status and drift tell of it, service puts it all
together, command is its door.
"""
