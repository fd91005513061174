def run(site):
    return {}
