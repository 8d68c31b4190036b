"""The published study of a CIFAR-10 network, as a test suite."""
