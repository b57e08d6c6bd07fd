"""Official raw files to RecBole's atomic files, one data set a module."""
