"""What BlueSky's scenario files say, in parts; `scn_parser` reads a file with them."""
