class Precise:
    pass
