# A Slicer build writes <extension>Config.cmake here, for extensions that build on this one.
