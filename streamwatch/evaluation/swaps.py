"""Which methods of the web sets swap faces: put one person's face on another's head, in footage that stays as it is."""

from __future__ import annotations

SWAPS: dict[str, str] = {
    "BlendFace": "swap with an identity encoder trained on blended pictures (ICCV 2023)",
    "DiffSwap": "swap by a diffusion model that paints the face in (CVPR 2023)",
    "E4S": "swap by region, through a StyleGAN inversion, blended back (CVPR 2023)",
    "FSGAN": "swap by reenactment, inpainting and blending (ICCV 2019)",
    "FaceAdapter": "swap with adapters for a diffusion model (ECCV 2024)",
    "FaceFusion": "the program for swaps, inswapper and its kin",
    "FaceShifter": "swap in two stages, identity then occlusions (CVPR 2020)",
    "HiFiVFS": "swap in video by a video diffusion model (2024)",
    "HiFiVFS (head swap)": "the same, with the whole head",
    "HiRes (CVPR22)": "swap of high resolution through StyleGAN, blended back (Xu et al., CVPR 2022)",
    "InfoSwap": "swap with an information bottleneck for identity (CVPR 2021)",
    "REFace": "swap by a diffusion model that paints the face in (WACV 2025)",
    "ReSyncer (swap)": "another person's face in the same footage (ECCV 2024)",
    "ReSyncer (swap+sync)": "the same, with another mouth",
    "RobustSwap": "swap with a StyleGAN that keeps attributes of the source out (2023)",
    "SimSwap": "swap with an identity injected into an autoencoder (ACM MM 2020)",
    "StyleSwap": "swap with a StyleGAN generator (ECCV 2022)",
    "StyleSwap+StyleSync": "the same, with another mouth",
    "VividFace": "swap in video by a diffusion model (2024)",
    "own GAN face swap (student)": "says so",
    "roop (inswapper)": "the program for swaps with one picture",
    "unknown swap (Anderson Cooper demo)": "says so",
    "unknown swap (DFDC/DFD)": "says so",
}
"""Name in the column `method`, and why it is here. Left out: lip-sync, reenactment, avatars, edits of the same face."""


def is_swap(method: str) -> bool:
    """Whether this method of forgery swaps faces."""
    return method in SWAPS
