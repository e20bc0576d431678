"""Deployment: ONNX, and the BlueSky plugin."""
