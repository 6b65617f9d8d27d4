"""From predictions to numbers; imports no deep-learning library, so that a report feels instant."""
