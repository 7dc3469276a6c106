"""The ground that everything stands on: the process, its devices, the disk, optional packages, names in trees."""
