"""Each pure core on its own, in the order of the tree."""
