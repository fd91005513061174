SELECT ttf_refresh_rollups()
