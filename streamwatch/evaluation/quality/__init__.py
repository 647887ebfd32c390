"""How good the fakes of a data set are: the quality metrics of SR-DF (Wang et al., "M2TR", ICMR 2022, Section 4).

`structure` Mask-SSIM, `perceptual` the distance of deep features, `warping` E_warp, `tsne` the map of the feature
space; `pairing` finds each fake's original, `measure` goes through the videos, `report` writes what came out.
"""
