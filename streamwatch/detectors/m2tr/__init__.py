"""M2TR (arXiv 2104.09770) in parts that a reader of the paper recognises."""
