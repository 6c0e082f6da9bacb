"""The codec network: transforms, hyperprior, context, gains. All of it local."""
