"""DICOM series in, DICOM findings out: the hospital's side of the detector."""
