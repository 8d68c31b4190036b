"""An ablation study of a PyTorch network."""
