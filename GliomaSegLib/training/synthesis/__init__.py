"""Synthetic training cases: brains painted with drawn contrasts, and tumours moved from one real brain into another.

Real labels of core and enhancing tumour are few. Two kinds of case stretch them:

- **painted**: label-conditioned synthesis in the manner of SynthSeg (Billot et al., Medical Image Analysis 2023,
  doi:10.1016/j.media.2023.102789). The shares of CSF, grey and white matter of a real brain or of the phantom's
  template, deformed, receive signals drawn per sequence; the tumour is grown, or a real label map moved there;
- **transplanted**: the tumour of one patient, with its own texture, in the brain of another whose own tumour has been
  covered by the mirror image of the other side.

Everything is drawn from the generator that is handed in: the same seed gives the same cases.

The modules follow that order: geometry, anatomy, tumour, painting, transplant; generator draws from all of them.
"""
