"""Fine-tuning: improve a cloned policy online."""
