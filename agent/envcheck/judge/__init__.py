"""PURE: policy, baseline and a device's facts and evidence in, findings and a verdict out."""
