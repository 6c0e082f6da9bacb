"""Room 2. The looks that decoded pictures may have (spec 8.5): which synthesis makes pixels of a
latent.

"faithful" is the model's own: as near to the original as the bits allow, so smooth where they are
few. "vivid" is sharp there instead, with detail that is made up.
"""

LOOKS = ("faithful", "vivid")
FAITHFUL = LOOKS[0]
