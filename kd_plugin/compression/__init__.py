"""Training a student on its teacher and a folder of images, without a host."""
