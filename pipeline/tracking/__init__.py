"""The folds' journals and their mirror in MLflow; mlflow is imported here only, and lazily."""
