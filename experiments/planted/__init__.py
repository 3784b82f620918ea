"""Does SGD in the ε-ball find as good a ticket as one that is known to exist?"""
