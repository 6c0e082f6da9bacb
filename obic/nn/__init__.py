"""The codec network: transforms, hyperprior, context, gains. Everything is local, so a picture can be coded in bands."""
