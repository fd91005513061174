SELECT ttf_make_partitions()
