ONE_IN_256 = bytes([128]) * 1024
