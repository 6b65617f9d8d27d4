"""Is this data set, and somebody's split of it, free of leaks and shortcuts?"""
