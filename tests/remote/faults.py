def cases(tools):
    return {}
