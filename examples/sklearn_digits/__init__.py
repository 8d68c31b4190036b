"""An ablation study of a scikit-learn pipeline."""
