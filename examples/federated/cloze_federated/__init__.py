"""Federated fine-tuning of a BERT folder: Flower moves the parameters, cloze trains and evaluates."""
