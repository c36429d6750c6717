"""Trained models as programs that need torch, or an ONNX runtime, alone."""
