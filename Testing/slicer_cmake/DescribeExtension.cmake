# Where a Slicer build prepares the package: the description that goes into the catalog.
foreach(key HOMEPAGE CONTRIBUTORS DESCRIPTION ICONURL SCREENSHOTURLS DEPENDS RECOMMENDS KEYWORDS)
  file(APPEND ${CMAKE_BINARY_DIR}/extension.txt "${key} ${EXTENSION_${key}}\n")
endforeach()
file(APPEND ${CMAKE_BINARY_DIR}/extension.txt "NAME ${PROJECT_NAME}\n")
