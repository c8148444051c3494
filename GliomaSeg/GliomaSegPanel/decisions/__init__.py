"""What the panel allows, fills in and shows: functions of plain values, without Qt and MRML.

The widget collects a :class:`~GliomaSegPanel.decisions.situation.Situation`, calls these functions and shows what they
return. Every refusal is a sentence that says what to do; it becomes the tooltip of the disabled button.
"""
