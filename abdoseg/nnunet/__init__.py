"""nnU-Net v2 in and out: its trained models become the teacher, our data lists become its raw data sets."""
