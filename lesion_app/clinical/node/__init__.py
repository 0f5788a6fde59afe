"""The DICOM node: receives CT series, runs a command on each, delivers the results to the PACS (docs/node.md)."""
