"""The network: backbone, head, augmentation, loss, optimizer and learning rate, and its weights file."""
