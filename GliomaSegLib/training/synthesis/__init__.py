"""Synthetic training cases: brains with random contrasts, and tumours moved from one real brain into another.

They supplement the few real labels of core and enhancing tumour. There are two kinds:

- **painted**: label-conditioned synthesis as in SynthSeg (Billot et al., Medical Image Analysis 2023,
  doi:10.1016/j.media.2023.102789). Fractions of CSF, grey and white matter of a real brain or of the phantom's template
  are deformed and get random signals per modality; the tumour is simulated, or a real label map is moved there;
- **transplanted**: the tumour of one patient, with its texture, in the brain of another patient, whose own tumour is
  replaced by the mirror image of the other side.

All random numbers come from the generator argument, so that cases are reproducible. The modules build on one another in
the order geometry, anatomy, tumour, painting, transplant, generator.
"""
