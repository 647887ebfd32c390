"""Questions that are answered by training or forging again: which recipe, which fusion, which forgeries are found."""
